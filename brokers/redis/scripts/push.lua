-- Queues tasks whose id is not there yet.
-- ARGV: channel, then for each task: id, due time, value for the hash of tasks; or, of one
-- that is to run at once: id, '~' and the time of its push, its message. Such a task is due
-- since its push, but not later than now, however fast its producer's clock is.
local ids = {}
for i = 2, #ARGV, 3 do ids[#ids + 1] = ARGV[i] end
local there, seen, values, places, n = redis.call('HMGET', tasks, unpack(ids)), {}, {}, {}, 0
for i, id in ipairs(ids) do
  if not there[i] and not seen[id] then
    seen[id] = true
    local due, task = ARGV[3 * i], ARGV[3 * i + 1]
    if string.sub(due, 1, 1) == '~' then
      due = string.sub(due, 2)
      if due == '' or tonumber(due) > tonumber(now) then due = now end
      task = value(due, task)
    end
    values[n + 1], values[n + 2] = id, task
    places[n + 1], places[n + 2] = due, id
    n = n + 2
  end
end
if n == 0 then return 0 end
local done = redis.pcall('HSET', tasks, unpack(values)) -- what a full memory or a replica refuses
if type(done) == 'table' then return done end
enqueue(places)
return n / 2
