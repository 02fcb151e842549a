-- Forgets an idempotency key whose event is not in the log and never will be.
-- KEYS: idempotency key. ARGV: uid of the event.
local key = redis.call('HMGET', KEYS[1], 'u', 'd')
if key[1] == ARGV[1] and not key[2] then redis.call('DEL', KEYS[1]) end
return {'done'}
