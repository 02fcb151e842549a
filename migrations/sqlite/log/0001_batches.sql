-- The log: what has been acknowledged, in the order of each topic.
--
-- One row is what one commit appended to one topic, from a single record to a
-- thousand: like Kafka's record batches, and for the same reason. A row costs a
-- statement, a B-tree step and a crossing between threads on its way in and again
-- on its way out, which is many times the price of copying a record's bytes.
CREATE TABLE batches (
    -- topic * 2^40 + offset of the first record. One integer is the place in the
    -- B-tree: no second index, the offsets of a topic lie together, and the busiest
    -- topic has the highest number, so that its appends go to the right edge.
    -- Topics: 1 applications.dlq, 2 chats.dlq, 3 messages.dlq, 4 applications,
    -- 5 chats, 6 messages. 2^40 is also the room that a revision leaves for offsets.
    id          INTEGER NOT NULL PRIMARY KEY,
    -- How many records; the offsets count on from the first without a gap.
    records     INTEGER NOT NULL,
    -- Microseconds since 1970, the same for all of them.
    appended_at INTEGER NOT NULL,
    -- The records, one after the other. Each is, in little endian:
    --   u32 bytes of the headers, u32 bytes of the key, u32 bytes of the value,
    --   headers, key, value.
    -- The headers are a byte of flags, then for each flag that is set:
    --   1  event   u16 length, UTF-8
    --   2  uid     16 bytes
    --   4  schema  u32
    --   8  origin  u32 epoch, u8 topic (numbered as above), u32 partition, u64 offset
    --   16 reason  u16 length, UTF-8
    frames      BLOB    NOT NULL
) STRICT;

-- One row a topic, made when the log is first opened.
CREATE TABLE topics (
    -- Numbered as above.
    topic       INTEGER NOT NULL PRIMARY KEY,
    -- No offset below this one is ever given again. Written by retention in the
    -- transaction that removes batches: the batches that are left say the rest.
    next_offset INTEGER NOT NULL,
    -- A copy of the store's, so that losing either file loses no epoch.
    epoch       INTEGER NOT NULL
) STRICT;

-- Exactly one row: random bytes that say which log this is, so that a store
-- notices when its log was replaced.
CREATE TABLE identity (
    log_id BLOB NOT NULL
) STRICT;
