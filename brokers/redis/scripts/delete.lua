-- Removes tasks that are not leased. ARGV: channel, ids. Returns the numbers (from 1) of
-- those that are not there or are leased.
local missing = {}
for i = 2, #ARGV do
  local id = ARGV[i]
  local till = redis.call('ZSCORE', leased, id)
  if till and tonumber(till) > tonumber(now) or redis.call('HEXISTS', tasks, id) == 0 then
    missing[#missing + 1] = i - 1
  else
    remove(id)
  end
end
return missing
