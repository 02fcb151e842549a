-- The key of a create of an application: it decides which token there will be.
-- KEYS: idempotency key. ARGV: body hash, uid, lease in ms, token, "1" if the store must be asked first.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local key = redis.call('HMGET', KEYS[1], 'b', 'd', 'e', 't', 'u', 'g')
if key[1] then
  if key[1] ~= ARGV[1] then return {'body'} end
  if key[2] then return {'repeat', key[4]} end
  if tonumber(key[3]) > now then return {'flight'} end
  redis.call('HSET', KEYS[1], 'e', now + ARGV[3])
  return {'resume', key[4], key[5], key[6]}
end
if ARGV[5] == '1' then return {'ask'} end
redis.call('HSET', KEYS[1], 'b', ARGV[1], 'u', ARGV[2], 'f', 0, 'n', 0, 'g', 1, 't', ARGV[4],
  'e', now + ARGV[3])
redis.call('PEXPIRE', KEYS[1], 90000000)
return {'granted'}
