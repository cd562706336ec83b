-- Looks for foreign messages in a part of the waiting set. ARGV: channel, cursor, size of
-- the step. Returns the next cursor ('0' at the end) and the messages.
local step = redis.call('ZSCAN', waiting, ARGV[2], 'COUNT', ARGV[3])
local out = {}
for i = 1, #step[2], 2 do
  if redis.call('HEXISTS', tasks, step[2][i]) == 0 then out[#out + 1] = step[2][i] end
end
return {step[1], out}
