-- Takes numbers for creates of one application, each as if it were alone: one look at everything that
-- decides, then one write.
-- KEYS: application and its fence, then for each create the counter, its fence, and the idempotency key or
-- the counter once more where there is none.
-- ARGV: server, "1" if keys may have been evicted, then for each create the count, the chat number or 0, and body
-- hash (empty without a key), uid, lease in ms, "1" if absent in the store.
local app, now
-- An hour more than a row of a key counts, for clocks that differ: a key that is gone for good has no row that
-- counts, so its next create need not ask.
local KEY_LIFE_MS = 90000000

local function time()
  if not now then
    local parts = redis.call('TIME')
    now = parts[1] * 1000 + math.floor(parts[2] / 1000)
  end
  return now
end

-- What is missing is an empty word, which the caller cannot read: a hole would end the answers of all.
local function granted(word, known)
  return {word, known[4] or '', known[5] or '', known[6] or '', known[7] or ''}
end

-- Whether the numbers of a lease that is over may be used again, by the counter's generation now. What was not in
-- the log when the counter was recovered, and is above what was found there, may have been given to somebody else
-- since, and whatever is still appended of it loses against the new generation.
local function resumable(counter, known, generation)
  if known[7] == generation then return true end
  local base = redis.call('HGET', counter, 'b')
  -- Counters that were recovered by an earlier version do not say where.
  return not base or tonumber(known[4]) + tonumber(known[5]) - 1 <= tonumber(base)
end

local function take(counter, fence, key, count, number, body, uid, lease, absent)
  local server = ARGV[1]
  app = app or redis.call('HMGET', KEYS[1], 'l', 'c', 'g', 's', 'r')
  local chat = tonumber(number)
  if not app[1] or app[1] ~= app[2] or app[4] ~= server then
    if redis.call('EXISTS', KEYS[2]) == 0 then return {'unknown', 'chats'} end
    -- The chat's own recovery is begun beside the application's.
    if chat > 0 and redis.call('EXISTS', fence) == 0 then
      local own = redis.call('HMGET', counter, 'l', 'c', 's')
      if not own[1] or own[1] ~= own[2] or own[3] ~= server then return {'unknown', 'messages'} end
    end
    return {'fenced'}
  end
  local last, generation = tonumber(app[1]), app[3]
  if chat > 0 then
    if chat > last then return {'range'} end
    local own = redis.call('HMGET', counter, 'l', 'c', 'g', 's')
    if not own[1] or own[1] ~= own[2] or own[4] ~= server then
      if redis.call('EXISTS', fence) == 1 then return {'fenced'} end
      return {'unknown', 'messages'}
    end
    last, generation = tonumber(own[1]), own[3]
  end
  if body ~= '' then
    local known = redis.call('HMGET', key, 'b', 'd', 'e', 'f', 'n', 'u', 'g')
    if known[1] then
      if known[1] ~= body then return {'body'} end
      if known[2] then return granted('repeat', known) end
      if (tonumber(known[3]) or 0) > time() then return {'flight'} end
      if resumable(counter, known, generation) then
        -- An event of an earlier generation would lose against one of this.
        known[7] = generation
        redis.call('HSET', key, 'e', time() + lease, 'g', generation)
        return granted('resume', known)
      end
    elseif absent ~= '1' then
      -- For a day after a recovery a key that is not here may be in the store; so it may where keys are evicted.
      if ARGV[2] == '1' or app[5] and time() - tonumber(app[5]) < KEY_LIFE_MS then return {'ask'} end
    end
  end
  local new = last + tonumber(count)
  if new > 4294967295 then return {'exhausted'} end
  -- Of a chat's number, the application's own record is the counter.
  if chat == 0 then app = nil end
  redis.call('HSET', counter, 'l', new, 'c', new)
  if body ~= '' then
    redis.call('HSET', key, 'b', body, 'u', uid, 'f', last + 1, 'n', count,
      'g', generation, 'e', time() + lease)
    redis.call('PEXPIRE', key, KEY_LIFE_MS)
  end
  return {'granted', tostring(last + 1), generation or ''}
end

local answers = {}
for nth = 1, (#KEYS - 2) / 3 do
  local k, a = 3 * nth - 1, 6 * nth - 4
  -- What is wrong with one create is its own matter.
  local fine, answer = pcall(take, KEYS[k + 1], KEYS[k + 2], KEYS[k + 3], ARGV[a + 1], ARGV[a + 2],
    ARGV[a + 3], ARGV[a + 4], ARGV[a + 5], ARGV[a + 6])
  if not fine then
    answer = {'error', type(answer) == 'table' and answer.err or tostring(answer)}
  end
  answers[nth] = answer
end
return answers
