-- Makes leases last from now on.
-- ARGV: channel, lease in seconds, then for each: id, token. Returns the numbers (from 1) of
-- the leases that are lost.
local till = string.format('%.6f', tonumber(now) + tonumber(ARGV[2]))
local ids = {}
for i = 3, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
local states = redis.call('HMGET', state, unpack(ids))
local lost, held, lease = {}, {}, {}
for i, id in ipairs(ids) do
  local token = ARGV[2 * i + 2]
  if states[i] and string.sub(states[i], 1, #token + 1) == token .. ' ' then
    held[#held + 1] = id
    lease[#lease + 1] = till
    lease[#lease + 1] = id
  else
    lost[#lost + 1] = i
  end
end
if #held > 0 then
  redis.call('ZREM', waiting, unpack(held)) -- those whose lease had ended without a successor
  redis.call('ZADD', leased, unpack(lease))
end
return lost
