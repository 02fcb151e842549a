-- Claims the recovery of a counter, and tells for how long nobody can have been given a number of it, in ms.
-- KEYS: fence of the counter, counter. ARGV: server, lease in ms, when the server was first seen.
if not redis.call('SET', KEYS[1], 1, 'NX', 'PX', ARGV[2]) then return {'held'} end
-- A counter of the server before has given nothing since this one was seen. One that is missing, or was changed by
-- hand, may have been good a moment ago.
local theirs = redis.call('HGET', KEYS[2], 's')
if not theirs or theirs == ARGV[1] then return {'claimed', '0'} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return {'claimed', string.format('%d', math.max(0, now - tonumber(ARGV[3])))}
