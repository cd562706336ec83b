-- Removes a task that waits, or notes that a leased one is to end; a dead letter is left
-- alone. ARGV: channel, id, wish. Returns the time and what show() returned before.
local id = ARGV[2]
local before = show(id)
local till = tonumber(before[5])
if till and till > tonumber(now) then
  redis.call('HSET', control, cancelField(id), ARGV[3])
elseif before[1] ~= '' and before[6] == '' then
  remove(id)
end
return {now, before}
