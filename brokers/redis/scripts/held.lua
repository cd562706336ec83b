-- Lists leased tasks by the end of their lease. ARGV: channel, rank of the first, most
-- members. Returns id, due time, id, due time; '' as the due time of those whose lease has
-- ended, and of the member that is no task.
local page = redis.call('ZRANGE', leased, ARGV[2], ARGV[2] + ARGV[3] - 1, 'WITHSCORES')
local out = {}
for i = 1, #page, 2 do
  local id, till = page[i], tonumber(page[i + 1])
  local _, _, _, _, due = parse(redis.call('HGET', state, id))
  if till <= tonumber(now) or till == math.huge then
    due = ''
  elseif due == '-' then
    due = firstDue(id)
  end
  out[i], out[i + 1] = id, due
end
return out
