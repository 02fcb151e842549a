-- The rows, and how far of the log they contain.
--
-- Every table is STRICT, so that a value of the wrong type is refused instead of
-- kept, and WITHOUT ROWID, so that the natural key is the place on disk: the rows
-- of one chat lie together and its history is one range scan.
--
-- Times are INTEGER microseconds since 1970 (negative before): what DATETIME(6)
-- keeps on MySQL, in 8 bytes and without a parser. Tokens and uids are their 16
-- bytes. A revision is below 2^63 as long as the log was re-created fewer than
-- 2^23 times, so a signed INTEGER holds it.

CREATE TABLE applications (
    token        BLOB    NOT NULL PRIMARY KEY,
    -- Empty in a stub. Whether it has 1 to 255 code points is checked before the
    -- event is appended; what is in the log is stored.
    name         TEXT    NOT NULL,
    -- Rows in chats, stubs included. Kept in the transaction that inserts them,
    -- because counting them for each GET would read them all.
    chats_count  INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    -- Orders the renames; 0 in a stub.
    revision     INTEGER NOT NULL,
    -- 0 stub (something inside it arrived first), 1 live.
    presence     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE chats (
    application_token BLOB    NOT NULL,
    number            INTEGER NOT NULL,
    -- Of the create, to tell a redelivery from a collision; NULL in a stub.
    uid               BLOB,
    -- Of the counters when the number was taken: on one number the higher one wins.
    generation        INTEGER NOT NULL,
    -- Live messages.
    messages_count    INTEGER NOT NULL,
    -- Highest number that has a row in messages; 0 for none.
    highest           INTEGER NOT NULL,
    -- Up to here every number has a row: streams and pages stop there.
    settled_through   INTEGER NOT NULL,
    created_at        INTEGER NOT NULL,
    -- 0 stub, 1 live.
    presence          INTEGER NOT NULL,
    PRIMARY KEY (application_token, number)
) STRICT, WITHOUT ROWID;

-- The settler asks every few seconds which chats have a hole. There are next to
-- none, so the index is next to empty and costs an insert nothing.
CREATE INDEX chats_unsettled ON chats (application_token, number)
    WHERE settled_through < highest;

CREATE TABLE messages (
    application_token BLOB    NOT NULL,
    chat_number       INTEGER NOT NULL,
    number            INTEGER NOT NULL,
    -- Of the create; NULL where none has been applied (void, or edited before it came).
    uid               BLOB,
    generation        INTEGER NOT NULL,
    sender            TEXT,
    -- Empty when deleted or void.
    body              TEXT    NOT NULL,
    -- 0 live, 1 void, 2 deleted.
    state             INTEGER NOT NULL,
    -- As the sender gave it; created_at and updated_at are ours.
    sent_at           INTEGER,
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER,
    -- Log epoch * 2^40 + offset + 1 of the event that the content is of; 0 for none.
    revision          INTEGER NOT NULL,
    PRIMARY KEY (application_token, chat_number, number)
) STRICT, WITHOUT ROWID;

-- A row for each create of the last 24 hours that carried a key. The hash covers
-- token, method and path too, so it is unique by itself.
CREATE TABLE idempotency (
    hash              BLOB    NOT NULL PRIMARY KEY,
    -- The same key with another body is refused.
    body_hash         BLOB    NOT NULL,
    application_token BLOB    NOT NULL,
    -- 0 and 0 where an application was made.
    first             INTEGER NOT NULL,
    count             INTEGER NOT NULL,
    uid               BLOB    NOT NULL,
    generation        INTEGER NOT NULL,
    created_at        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What is older than 24 hours goes, and must be found without reading the rest.
CREATE INDEX idempotency_created_at ON idempotency (created_at);

-- Messages that found their number taken, so that a redelivery finds them again.
CREATE TABLE renumbered (
    application_token BLOB    NOT NULL,
    chat_number       INTEGER NOT NULL,
    uid               BLOB    NOT NULL,
    number            INTEGER NOT NULL,
    PRIMARY KEY (application_token, chat_number, uid)
) STRICT, WITHOUT ROWID;

-- How far each group has applied each partition, written in the transaction that
-- applies: this is the truth about consuming, the log's own idea is for display.
CREATE TABLE log_positions (
    group_name TEXT    NOT NULL,
    topic      TEXT    NOT NULL,
    partition  INTEGER NOT NULL,
    -- Offset of the first record that has not been applied.
    next       INTEGER NOT NULL,
    epoch      INTEGER NOT NULL,
    -- Uid of the last applied record, to know the log again; NULL where it had none.
    last_uid   BLOB,
    PRIMARY KEY (group_name, topic, partition)
) STRICT, WITHOUT ROWID;

-- Which log the positions are of. A log.db with another id was re-created.
CREATE TABLE log_epochs (
    topic  TEXT    NOT NULL PRIMARY KEY,
    log_id BLOB    NOT NULL,
    -- The high bits of every revision: raised when the topic was re-created or truncated.
    epoch  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
