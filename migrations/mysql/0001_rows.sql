-- The rows, and how far of the log they contain.
--
-- The common subset of MySQL 8 and 9 and MariaDB 10.11: nothing here depends on the
-- server's default engine, character set or collation. No auto-increment and no foreign
-- key; every key of data starts with the application, so that the schema runs unchanged
-- on a cluster that is sharded by token.
--
-- Times are BIGINT microseconds since 1970 (negative before): 8 bytes as DATETIME(6) has,
-- to the same microsecond, but no time zone, no SQL mode and no calendar arithmetic between
-- us and the bytes, for every row in and out. FROM_UNIXTIME(created_at / 1e6) shows one.
--
-- Texts are utf8mb4 with a binary collation: compared and given back byte for byte. Tokens
-- and uids are their 16 bytes.

CREATE TABLE applications (
    token        BINARY(16)      NOT NULL,
    -- Empty in a stub; otherwise 1 to 255 code points, checked before the event is appended.
    name         VARCHAR(255)    NOT NULL,
    -- Rows in chats, stubs included. Kept in the transaction that inserts them, because
    -- counting them for each GET would read them all.
    chats_count  INT UNSIGNED    NOT NULL,
    created_at   BIGINT          NOT NULL,
    updated_at   BIGINT          NOT NULL,
    -- Orders the renames; 0 in a stub.
    revision     BIGINT UNSIGNED NOT NULL,
    -- 0 stub (something inside it arrived first), 1 live.
    presence     TINYINT UNSIGNED NOT NULL,
    PRIMARY KEY (token)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE chats (
    application_token BINARY(16)   NOT NULL,
    number            INT UNSIGNED NOT NULL,
    -- Of the create, to tell a redelivery from a collision; NULL in a stub.
    uid               BINARY(16)   NULL,
    -- Of the counters when the number was taken: on one number the higher one wins.
    generation        INT UNSIGNED NOT NULL,
    -- Live messages.
    messages_count    INT UNSIGNED NOT NULL,
    -- Highest number that has a row in messages; 0 for none.
    highest           INT UNSIGNED NOT NULL,
    -- Up to here every number has a row: streams and pages stop there.
    settled_through   INT UNSIGNED NOT NULL,
    created_at        BIGINT       NOT NULL,
    -- 0 stub, 1 live.
    presence          TINYINT UNSIGNED NOT NULL,
    -- 1 where a number below the highest has no row, else NULL. The settler asks every few
    -- seconds which chats have such a hole; there are next to none, and MySQL has no partial
    -- index. Stored, because indexes on virtual columns are younger than what we support.
    unsettled         TINYINT UNSIGNED
        GENERATED ALWAYS AS (CASE WHEN settled_through < highest THEN 1 END) STORED,
    PRIMARY KEY (application_token, number),
    KEY chats_unsettled (unsettled, application_token, number)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE messages (
    application_token BINARY(16)      NOT NULL,
    chat_number       INT UNSIGNED    NOT NULL,
    number            INT UNSIGNED    NOT NULL,
    -- Of the create; NULL where none has been applied (void, or edited before it came).
    uid               BINARY(16)      NULL,
    generation        INT UNSIGNED    NOT NULL,
    sender            VARCHAR(255)    NULL,
    -- Empty when deleted or void. The limit of 64 KiB is one byte more than TEXT holds.
    body              MEDIUMTEXT      NOT NULL,
    -- 0 live, 1 void, 2 deleted.
    state             TINYINT UNSIGNED NOT NULL,
    -- As the sender gave it; created_at and updated_at are ours.
    sent_at           BIGINT          NULL,
    created_at        BIGINT          NOT NULL,
    updated_at        BIGINT          NULL,
    -- Log epoch * 2^40 + offset + 1 of the event that the content is of; 0 for none.
    revision          BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (application_token, chat_number, number)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- A row for each create of the last 24 hours that carried a key. The hash covers token,
-- method and path too, so it is unique by itself; it comes first in the key because that
-- is all that a look-up knows.
CREATE TABLE idempotency (
    hash              BINARY(16)   NOT NULL,
    -- The same key with another body is refused.
    body_hash         BINARY(16)   NOT NULL,
    application_token BINARY(16)   NOT NULL,
    -- 0 and 0 where an application was made.
    first             INT UNSIGNED NOT NULL,
    count             INT UNSIGNED NOT NULL,
    uid               BINARY(16)   NOT NULL,
    generation        INT UNSIGNED NOT NULL,
    created_at        BIGINT       NOT NULL,
    PRIMARY KEY (hash),
    -- What is older than 24 hours goes, and must be found without reading the rest.
    KEY idempotency_created_at (created_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Messages that found their number taken, so that a redelivery finds them again.
CREATE TABLE renumbered (
    application_token BINARY(16)   NOT NULL,
    chat_number       INT UNSIGNED NOT NULL,
    uid               BINARY(16)   NOT NULL,
    number            INT UNSIGNED NOT NULL,
    PRIMARY KEY (application_token, chat_number, uid)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- How far each group has applied each partition, written in the transaction that applies:
-- this is the truth about consuming, the log's own idea is for display.
CREATE TABLE log_positions (
    group_name      VARCHAR(64)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    topic           VARCHAR(64)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    partition_index INT UNSIGNED    NOT NULL,
    -- Offset of the first record that has not been applied.
    next            BIGINT UNSIGNED NOT NULL,
    epoch           INT UNSIGNED    NOT NULL,
    -- Uid of the last applied record, to know the log again; NULL where it had none.
    last_uid        BINARY(16)      NULL,
    -- CONNECTION_ID() of whoever locks this row next or now: a successor that waits for it
    -- too long ends that connection, because a frozen worker gives nothing back by itself.
    owner           BIGINT UNSIGNED NULL,
    PRIMARY KEY (group_name, topic, partition_index)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- What `migrate` made of each topic, and which log the positions are of.
CREATE TABLE log_topics (
    topic      VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    -- Fixed for good: the partition of a key depends on it.
    partitions INT UNSIGNED NOT NULL,
    -- The name that the Kafka cluster gave itself.
    cluster    VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    -- The high bits of every revision: raised when the topic was re-created or truncated.
    epoch      INT UNSIGNED NOT NULL,
    PRIMARY KEY (topic)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- The generation that the counters of an application have since their last recovery;
-- no row means the first. Of two creates with one number the higher generation wins.
CREATE TABLE counter_generations (
    application_token BINARY(16)   NOT NULL,
    generation        INT UNSIGNED NOT NULL,
    PRIMARY KEY (application_token)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
