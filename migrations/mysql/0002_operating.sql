-- What operators need: what changed lately, what processes tell each other, what was
-- decided about dead letters.

-- The minute of Unix time in which the row was written last. Reconciliation asks for what
-- changed since it looked, and by the minute the index moves once a minute for a busy chat
-- and not with each of its batches.
ALTER TABLE chats
    ADD COLUMN changed INT UNSIGNED NOT NULL DEFAULT 0,
    ADD KEY chats_changed (changed, application_token, number);

-- Texts that processes share. A change names the version that it read, so that of two who
-- read the same one only one succeeds.
CREATE TABLE notes (
    name    VARCHAR(64)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    version BIGINT UNSIGNED NOT NULL,
    text    MEDIUMTEXT      NOT NULL,
    PRIMARY KEY (name)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Decisions about the records of the dead-letter topics; one without a row waits.
CREATE TABLE dead_letters (
    topic           VARCHAR(64)      CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    partition_index INT UNSIGNED     NOT NULL,
    -- Of the dead-letter topic: in one that was made anew the same offset is another letter.
    epoch           INT UNSIGNED     NOT NULL,
    log_offset      BIGINT UNSIGNED  NOT NULL,
    -- 0 somebody is about to append it again, 1 appended again, 2 given up.
    fate            TINYINT UNSIGNED NOT NULL,
    -- Names the order that decided.
    claim           BINARY(16)       NOT NULL,
    decided_at      BIGINT           NOT NULL,
    -- Why it was given up; empty otherwise.
    reason          TEXT             NOT NULL,
    PRIMARY KEY (topic, partition_index, epoch, log_offset)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
