-- A number that readers have passed may become live after all: a dead letter is replayed, or a record
-- comes late. Streams compare how often that happened with what they have seen, and tell their reader
-- where to read again.

-- How often.
ALTER TABLE chats ADD COLUMN resets INTEGER NOT NULL DEFAULT 0;
-- The lowest such number the last time; 0 where there was none.
ALTER TABLE chats ADD COLUMN reset_from INTEGER NOT NULL DEFAULT 0;
