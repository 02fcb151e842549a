-- Notes that the events of idempotency keys are durable.
-- KEYS: idempotency keys, all on one shard. ARGV: two of no use here, then the body hash of each.
local function acknowledge(key, hash)
  local body = redis.call('HGET', key, 'b')
  if not body then return {'absent'} end
  if body == hash then
    redis.call('HSET', key, 'd', 1)
    redis.call('PEXPIRE', key, 90000000)
  end
  return {'done'}
end

local answers = {}
for nth = 1, #KEYS do
  local fine, answer = pcall(acknowledge, KEYS[nth], ARGV[nth + 2])
  if not fine then
    answer = {'error', type(answer) == 'table' and answer.err or tostring(answer)}
  end
  answers[nth] = answer
end
return answers
