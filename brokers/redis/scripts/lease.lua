-- Leases tasks that are due, oldest first.
-- ARGV: channel, most tasks, lease in seconds, token, '1' to stop at foreign messages, most bytes.
-- Returns the foreign messages that it stopped at (members without a payload: others put
-- them there), and for each task: id, payload, "ATTEMPTS SEQUENCE LOST".
local max, ttl, token, stop, budget =
  tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5] == '1', tonumber(ARGV[6])
local till = string.format('%.6f', tonumber(now) + ttl)
local out, foreign, skip, taken = {}, {}, 0, 0
reap()
while taken < max and budget > 0 do
  local want = math.min(128, max - taken)
  local page = redis.call('ZRANGEBYSCORE', waiting, '-inf', now, 'WITHSCORES', 'LIMIT', skip, want)
  if #page == 0 then break end
  local members, own, due, body = {}, {}, {}, {}
  for i = 1, #page, 2 do members[#members + 1] = page[i] end
  local payloads = redis.call('HMGET', tasks, unpack(members))
  local others = 0
  for i, member in ipairs(members) do
    if budget <= 0 then break end
    if payloads[i] then
      own[#own + 1], due[#due + 1], body[#body + 1] = member, page[2 * i], payloads[i]
      budget = budget - #payloads[i]
    else
      others = others + 1
      if stop then
        foreign[#foreign + 1] = member
        budget = budget - #member
      end
    end
  end
  if #foreign > 0 then break end
  if #own > 0 then
    local old = redis.call('HMGET', state, unpack(own))
    local lease, new, unpark = {}, {}, {}
    for i, id in ipairs(own) do
      local before, attempts, sequence, lost, _, note = parse(old[i])
      if before ~= '-' then lost = lost + 1 end
      local count = attempts .. ' ' .. (sequence + 1) .. ' ' .. lost
      lease[2 * i - 1], lease[2 * i] = till, id
      new[2 * i - 1], new[2 * i] = id, token .. ' ' .. count .. ' ' .. due[i]
      out[#out + 1] = id
      out[#out + 1] = body[i]
      out[#out + 1] = count
      if note ~= '' then unpark[#unpark + 1] = id end
    end
    if others == 0 then
      redis.call('ZREMRANGEBYRANK', waiting, skip, skip + #own - 1)
    else
      redis.call('ZREM', waiting, unpack(own))
    end
    redis.call('ZADD', leased, unpack(lease))
    redis.call('HSET', state, unpack(new))
    if #unpark > 0 then redis.call('ZREM', parked, unpack(unpark)) end
    for i, id in ipairs(own) do
      local before, attempts = parse(old[i])
      if before ~= '-' then remember(id, attempts + 1, 'lost', 'the lease ended by itself') end
    end
  end
  taken, skip = taken + #own, skip + others
  if #members < want then break end
end
return {foreign, out}
