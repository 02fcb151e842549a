-- Takes numbers. One look at everything that decides, then one write.
-- KEYS: application, counter, the fences of both, and the idempotency key where there is one.
-- ARGV: server, count, chat number or 0, then body hash, uid, lease in ms, "1" if absent in the store.
local app = redis.call('HMGET', KEYS[1], 'l', 'c', 'g', 's', 'r')
local chat = tonumber(ARGV[3])
if not app[1] or app[1] ~= app[2] or app[4] ~= ARGV[1] then
  if redis.call('EXISTS', KEYS[3]) == 0 then return {'unknown', 'chats'} end
  -- The chat's own recovery is begun beside the application's.
  if chat > 0 and redis.call('EXISTS', KEYS[4]) == 0 then
    local own = redis.call('HMGET', KEYS[2], 'l', 'c', 's')
    if not own[1] or own[1] ~= own[2] or own[3] ~= ARGV[1] then return {'unknown', 'messages'} end
  end
  return {'fenced'}
end
local last, generation = tonumber(app[1]), app[3]
if chat > 0 then
  if chat > last then return {'range'} end
  local own = redis.call('HMGET', KEYS[2], 'l', 'c', 'g', 's')
  if not own[1] or own[1] ~= own[2] or own[4] ~= ARGV[1] then
    if redis.call('EXISTS', KEYS[4]) == 1 then return {'fenced'} end
    return {'unknown', 'messages'}
  end
  last, generation = tonumber(own[1]), own[3]
end
local now
if KEYS[5] then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
  local key = redis.call('HMGET', KEYS[5], 'b', 'd', 'e', 'f', 'n', 'u', 'g')
  if key[1] then
    if key[1] ~= ARGV[4] then return {'body'} end
    if key[2] then return {'repeat', key[4], key[5], key[6], key[7]} end
    if tonumber(key[3]) > now then return {'flight'} end
    redis.call('HSET', KEYS[5], 'e', now + ARGV[6])
    return {'resume', key[4], key[5], key[6], key[7]}
  end
  -- For a day after a recovery a key that is not here may be in the store.
  if app[5] and ARGV[7] ~= '1' and now - tonumber(app[5]) < 86400000 then return {'ask'} end
end
local new = last + tonumber(ARGV[2])
if new > 4294967295 then return {'exhausted'} end
redis.call('HSET', KEYS[2], 'l', new, 'c', new)
if KEYS[5] then
  redis.call('HSET', KEYS[5], 'b', ARGV[4], 'u', ARGV[5], 'f', last + 1, 'n', ARGV[2],
    'g', generation, 'e', now + ARGV[6])
  redis.call('PEXPIRE', KEYS[5], 86400000)
end
return {'granted', tostring(last + 1), generation}
