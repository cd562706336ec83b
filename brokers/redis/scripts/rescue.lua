-- Puts tasks that are in no set into the waiting set: a server that evicts keys has dropped
-- a set, but not the tasks. ARGV: channel, cursor, size of the step. Returns the next cursor
-- ('0' at the end) and how many tasks were put back.
local step = redis.call('HSCAN', tasks, ARGV[2], 'COUNT', ARGV[3])
local places = {}
for i = 1, #step[2], 2 do
  local id = step[2][i]
  if not (redis.call('ZSCORE', waiting, id) or redis.call('ZSCORE', leased, id) or redis.call('ZSCORE', dead, id)) then
    local _, _, _, _, due = parse(redis.call('HGET', state, id))
    places[#places + 1] = due ~= '-' and due or firstDue(id)
    places[#places + 1] = id
  end
end
enqueue(places)
return {step[1], #places / 2}
