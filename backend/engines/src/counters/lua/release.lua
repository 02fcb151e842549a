-- Ends the lease of an idempotency key whose event is certainly not in the log.
-- KEYS: idempotency key. ARGV: uid of the event.
local key = redis.call('HMGET', KEYS[1], 'u', 'd')
if key[1] == ARGV[1] and not key[2] then redis.call('HSET', KEYS[1], 'e', 0) end
return {'done'}
