-- Checksums (CRC32C). What was written before this migration has none: it is read as
-- it is, until retention removes it. A program that does not know this migration
-- refuses to open the database.

-- What a batch says about its records outside of them, so that a damaged record does
-- not hide which numbers were given out. NULL in a batch without checksums, whose
-- frames end with the value. In little endian:
--   i64 id, u32 records, i64 appended_at (the columns again), u32 checksum of these;
-- then for each record 57 bytes:
--   u32 bytes of its frame, u8 kind (bits: 1 is about something, 2 of a chat,
--   4 creates), 16 bytes uid, 16 bytes token, u32 chat, u32 first number,
--   u32 numbers, u32 generation, u32 checksum of the record's place (id + how many
--   records stand before it) and of these.
-- A frame ends with a u32: the checksum of its bytes, its place and appended_at.
ALTER TABLE batches ADD COLUMN heads BLOB;

-- The checksum of the other columns; NULL until the row is written again.
ALTER TABLE topics ADD COLUMN checksum INTEGER;
ALTER TABLE identity ADD COLUMN checksum INTEGER;
