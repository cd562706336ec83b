-- Ends leases.
-- ARGV: channel, number of tasks that are done, for each of those: id, token; then for each
-- of the others: id, token, verdict ('retry', 'release', 'bury'), due time ('' is none),
-- reason. Returns the numbers (from 1) of the leases that are lost.
local done = tonumber(ARGV[2])
local rest = 2 * done + 2
local ids, tokens, n = {}, {}, 0
for i = 3, rest, 2 do
  n = n + 1
  ids[n], tokens[n] = ARGV[i], ARGV[i + 1]
end
for i = rest + 1, #ARGV, 5 do
  n = n + 1
  ids[n], tokens[n] = ARGV[i], ARGV[i + 1]
end
local states = redis.call('HMGET', state, unpack(ids))
local lost, ended, seen = {}, {}, {}
local gone, back, buried, notes, new, events = {}, {}, {}, {}, {}, {}
local function add(list, a, b) list[#list + 1] = a list[#list + 1] = b end
for i, id in ipairs(ids) do
  if seen[id] or not held(states[i], tokens[i]) then
    lost[#lost + 1] = i
  else
    seen[id] = true
    ended[#ended + 1] = id
    if i <= done then
      gone[#gone + 1] = id
    else
      local at = rest + 5 * (i - done - 1) + 3
      local verdict, time, reason = ARGV[at], ARGV[at + 1], ARGV[at + 2]
      local _, attempts, sequence, losses, due = parse(states[i])
      local note = ''
      if verdict ~= 'release' then
        attempts = attempts + 1
        events[#events + 1] = {id, attempts, verdict, reason}
      end
      if verdict == 'bury' then
        add(buried, now, id)
      else
        if time ~= '' then
          due = time
          if verdict == 'release' and reason ~= '' then
            note = reason
            add(notes, due, id)
          end
        elseif verdict == 'retry' then
          due = now
        end
        add(back, due ~= '-' and due or firstDue(id), id)
      end
      add(new, id, '- ' .. attempts .. ' ' .. sequence .. ' ' .. losses .. ' ' .. due .. ' ' .. note)
    end
  end
end
if #ended > 0 and redis.call('ZREM', leased, unpack(ended)) < #ended then
  redis.call('ZREM', waiting, unpack(ended)) -- those whose lease had ended without a successor
end
if #gone > 0 then
  redis.call('HDEL', tasks, unpack(gone))
  redis.call('HDEL', state, unpack(gone))
  redis.call('HDEL', history, unpack(gone))
  forgetWishes(gone)
end
if #new > 0 then redis.call('HSET', state, unpack(new)) end
if #buried > 0 then
  redis.call('ZADD', dead, unpack(buried))
  for i = 2, #buried, 2 do forgetWishes({buried[i]}) end
end
if #notes > 0 then redis.call('ZADD', parked, unpack(notes)) end
enqueue(back)
for _, event in ipairs(events) do remember(unpack(event)) end
return lost
