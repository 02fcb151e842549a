-- Notes that the event of a key is durable.
-- KEYS: idempotency key. ARGV: body hash.
local body = redis.call('HGET', KEYS[1], 'b')
if not body then return {'absent'} end
if body == ARGV[1] then
  redis.call('HSET', KEYS[1], 'd', 1)
  redis.call('PEXPIRE', KEYS[1], 86400000)
end
return {'done'}
