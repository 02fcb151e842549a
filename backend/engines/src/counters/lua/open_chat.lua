-- Makes a chat's counter at 0, where there is none and nothing can have been counted before.
-- KEYS: application, chat. ARGV: server, ms for which a create may be under way.
if redis.call('EXISTS', KEYS[2]) == 1 then return {'there'} end
local app = redis.call('HMGET', KEYS[1], 'l', 'c', 'g', 's', 'r')
-- Where the application was lost or recovered since the number was taken, messages may have been
-- counted and lost too: then only a recovery knows, and it is asked for by the missing key.
if not app[1] or app[1] ~= app[2] or app[4] ~= ARGV[1] then return {'left'} end
if app[5] then
  local time = redis.call('TIME')
  if time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(app[5]) < tonumber(ARGV[2]) then
    return {'left'}
  end
end
redis.call('HSET', KEYS[2], 'l', 0, 'c', 0, 'g', app[3], 's', ARGV[1])
return {'made'}
