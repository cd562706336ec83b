-- Makes leases last from now on.
-- ARGV: channel, lease in seconds, then for each: id, token. Returns the numbers (from 1) of
-- the leases that are lost.
local till = string.format('%.6f', tonumber(now) + tonumber(ARGV[2]))
local ids = {}
for i = 3, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
local states = redis.call('HMGET', state, unpack(ids))
local lost, kept, lease = {}, {}, {}
for i, id in ipairs(ids) do
  if held(states[i], ARGV[2 * i + 2]) then
    kept[#kept + 1] = id
    lease[#lease + 1] = till
    lease[#lease + 1] = id
  else
    lost[#lost + 1] = i
  end
end
if #kept > 0 then
  local first = tonumber(redis.call('ZRANGE', leased, 0, 0, 'WITHSCORES')[2])
  -- Those whose lease had ended without a successor. (It comes first, as a server whose memory
  -- is full lets a script that has written something go on writing.)
  redis.call('ZREM', waiting, unpack(kept))
  hold(lease)
  if not first or tonumber(till) < first then wake() end
end
return lost
