-- Puts a counter where recovery found it, never lower than it stands in either copy.
-- KEYS: counter, application, fence of the counter. ARGV: server, last, generation.
local own = redis.call('HMGET', KEYS[1], 'l', 'c', 'g')
local last = math.max(tonumber(own[1] or 0) or 0, tonumber(own[2] or 0) or 0, tonumber(ARGV[2]))
local generation = math.max(tonumber(own[3] or 0) or 0, tonumber(ARGV[3]))
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'l', last, 'c', last, 'g', generation, 's', ARGV[1], 'b', last)
redis.call('HSET', KEYS[2], 'r', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('DEL', KEYS[3])
return {'done'}
