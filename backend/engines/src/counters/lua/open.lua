-- Makes an application's counter at 0, where there is none and there cannot have been one.
-- KEYS: application. ARGV: server, "1" if the application's create is a first try.
local app = redis.call('HMGET', KEYS[1], 'l', 'c', 'g', 's')
if app[1] then
  -- A new token that is there already was made by this create's first try, or cannot be believed.
  if app[1] ~= app[2] or app[4] ~= ARGV[1] then return {'unknown'} end
  return {'granted', app[3]}
end
-- The create of an earlier try may be in the log, and chats may have been counted and lost: a recovery tells.
if ARGV[2] ~= '1' then return {'unknown'} end
redis.call('HSET', KEYS[1], 'l', 0, 'c', 0, 'g', 1, 's', ARGV[1])
return {'granted', '1'}
