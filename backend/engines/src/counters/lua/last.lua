-- The last number given out, where it can be believed.
-- KEYS: counter. ARGV: server.
local own = redis.call('HMGET', KEYS[1], 'l', 'c', 's')
if not own[1] or own[1] ~= own[2] or own[3] ~= ARGV[1] then return {'unknown'} end
return {'known', own[1]}
