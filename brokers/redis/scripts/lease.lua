-- Leases tasks that are due, oldest first.
-- ARGV: channel, most tasks, lease in seconds, token, '1' to stop at foreign messages, most bytes.
-- Returns the foreign messages that it stopped at (members without a payload: others put
-- them there), for each task: id, value of the hash of tasks, "ATTEMPTS SEQUENCE LOST DUE" and,
-- of a cancelled one, a space and the wish; and the server's time.
local max, ttl, token, stop, budget =
  tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5] == '1', tonumber(ARGV[6])
local till = string.format('%.6f', tonumber(now) + ttl)
local first = token .. ' 0 1 0 -' -- the state of a task that is leased for the first time
local out, foreign, skip, taken = {}, {}, 0, 0
if paused() then return {foreign, out, now} end
reap()
while taken < max and budget > 0 do
  local want = math.min(128, max - taken)
  local members = redis.call('ZRANGEBYSCORE', waiting, '-inf', now, 'LIMIT', skip, want)
  if #members == 0 then break end
  local values = redis.call('HMGET', tasks, unpack(members))
  local own, body, n, others = {}, {}, 0, 0
  for i = 1, #members do
    if budget <= 0 then break end
    if values[i] then
      n = n + 1
      own[n], body[n] = members[i], values[i]
      budget = budget - #values[i]
    else
      others = others + 1
      if stop then
        foreign[others] = members[i]
        budget = budget - #members[i]
      end
    end
  end
  if #foreign > 0 then break end
  if n > 0 then
    local old = redis.call('HMGET', state, unpack(own))
    local lease, new, unpark, lost, at = {}, {}, {}, {}, 3 * taken
    for i = 1, n do
      local id, count, text = own[i], '0 1 0 -', first
      if old[i] then
        local before, attempts, sequence, losses, due, note = parse(old[i])
        if before ~= '-' then
          losses = losses + 1
          lost[#lost + 1] = {id, attempts + 1, 'lost', 'the lease ended by itself'}
        end
        if note ~= '' then unpark[#unpark + 1] = id end
        count = attempts .. ' ' .. (sequence + 1) .. ' ' .. losses .. ' ' .. due
        text = token .. ' ' .. count
      end
      lease[2 * i - 1], lease[2 * i] = till, id
      new[2 * i - 1], new[2 * i] = id, text
      local wish = wishes > 0 and redis.call('HGET', control, cancelField(id))
      out[at + 1], out[at + 2], out[at + 3] = id, body[i], wish and count .. ' ' .. wish or count
      at = at + 3
    end
    if others == 0 then
      redis.call('ZREMRANGEBYRANK', waiting, skip, skip + n - 1)
    else
      redis.call('ZREM', waiting, unpack(own))
    end
    hold(lease)
    leases = 1
    redis.call('HSET', state, unpack(new))
    if #unpark > 0 then redis.call('ZREM', parked, unpack(unpark)) end
    for _, event in ipairs(lost) do remember(unpack(event)) end
  end
  taken, skip = taken + n, skip + others
  if #members < want then break end
end
return {foreign, out, now}
