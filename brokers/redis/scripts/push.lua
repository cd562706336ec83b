-- Queues tasks whose id is not there yet.
-- ARGV: channel, then for each task: id, payload, due time ('' is now).
local places = {}
for i = 2, #ARGV, 3 do
  -- The first write is the one that a full memory or a replica refuses.
  local new = redis.pcall('HSETNX', tasks, ARGV[i], ARGV[i + 1])
  if type(new) == 'table' then
    enqueue(places)
    return new
  end
  if new == 1 then
    places[#places + 1] = ARGV[i + 2] ~= '' and ARGV[i + 2] or now
    places[#places + 1] = ARGV[i]
  end
end
enqueue(places)
return #places / 2
