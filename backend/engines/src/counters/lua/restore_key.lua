-- Puts back the answer of a key: of the same event, or of one of a later generation.
-- KEYS: idempotency key. ARGV: body hash, uid, first, count, generation, token or nothing.
local key = redis.call('HMGET', KEYS[1], 'u', 'g')
if key[1] and key[1] ~= ARGV[2] and tonumber(key[2]) >= tonumber(ARGV[5]) then return {'kept'} end
redis.call('HSET', KEYS[1], 'b', ARGV[1], 'u', ARGV[2], 'f', ARGV[3], 'n', ARGV[4], 'g', ARGV[5],
  't', ARGV[6], 'd', 1)
redis.call('PEXPIRE', KEYS[1], 90000000)
return {'done'}
