-- What operators need: what changed lately, what processes tell each other, what was
-- decided about dead letters.

-- The minute of Unix time in which the row was written last. Reconciliation asks for what
-- changed since it looked, and by the minute the index moves once a minute for a busy chat
-- and not with each of its batches.
ALTER TABLE chats ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;

CREATE INDEX chats_changed ON chats (changed, application_token, number);

-- Texts that processes share. A change names the version that it read, so that of two who
-- read the same one only one succeeds.
CREATE TABLE notes (
    name    TEXT    NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    text    TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- Decisions about the records of the dead-letter topics; one without a row waits.
CREATE TABLE dead_letters (
    topic      TEXT    NOT NULL,
    partition  INTEGER NOT NULL,
    -- Of the dead-letter topic: in one that was made anew the same offset is another letter.
    epoch      INTEGER NOT NULL,
    log_offset INTEGER NOT NULL,
    -- 0 somebody is about to append it again, 1 appended again, 2 given up.
    fate       INTEGER NOT NULL,
    -- Names the order that decided.
    claim      BLOB    NOT NULL,
    decided_at INTEGER NOT NULL,
    -- Why it was given up; empty otherwise.
    reason     TEXT    NOT NULL,
    PRIMARY KEY (topic, partition, epoch, log_offset)
) STRICT, WITHOUT ROWID;
