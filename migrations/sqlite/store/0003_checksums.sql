-- Checksums (CRC32C, signed) of each row: of the table, the key and every column that an
-- event or an operator sets. A row that was written before this migration has NULL and is
-- taken as it is until it is written again. A program that does not know this migration
-- refuses to open the database.
ALTER TABLE applications ADD COLUMN checksum INTEGER;
ALTER TABLE chats ADD COLUMN checksum INTEGER;
ALTER TABLE messages ADD COLUMN checksum INTEGER;
ALTER TABLE idempotency ADD COLUMN checksum INTEGER;
ALTER TABLE renumbered ADD COLUMN checksum INTEGER;
ALTER TABLE log_positions ADD COLUMN checksum INTEGER;
ALTER TABLE log_epochs ADD COLUMN checksum INTEGER;
ALTER TABLE notes ADD COLUMN checksum INTEGER;
ALTER TABLE dead_letters ADD COLUMN checksum INTEGER;

-- What is derived from other rows has a checksum of its own, because it can be counted
-- again where it is damaged: chats_count; messages_count, highest and settled_through.
ALTER TABLE applications ADD COLUMN counts_checksum INTEGER;
ALTER TABLE chats ADD COLUMN counts_checksum INTEGER;
