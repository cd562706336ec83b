-- Ends leases.
-- ARGV: channel, then for each: id, token, verdict ('done', 'retry', 'release', 'bury'), due
-- time ('' is none), reason. Returns the numbers (from 1) of the leases that are lost.
local ids = {}
for i = 2, #ARGV, 5 do ids[#ids + 1] = ARGV[i] end
local states = redis.call('HMGET', state, unpack(ids))
local lost, held, done, back, buried, notes, new, events, seen = {}, {}, {}, {}, {}, {}, {}, {}, {}
for i, id in ipairs(ids) do
  local token, verdict, at, reason = ARGV[5 * i - 2], ARGV[5 * i - 1], ARGV[5 * i], ARGV[5 * i + 1]
  if seen[id] or not states[i] or string.sub(states[i], 1, #token + 1) ~= token .. ' ' then
    lost[#lost + 1] = i
  else
    seen[id] = true
    held[#held + 1] = id
    if verdict == 'done' then
      done[#done + 1] = id
    else
      local _, attempts, sequence, losses, due = parse(states[i])
      local note = ''
      if verdict == 'release' then
        if at ~= '' then due, note = at, reason end
      else
        attempts = attempts + 1
        events[#events + 1] = {id, attempts, verdict, reason}
      end
      if verdict == 'retry' then due = at ~= '' and at or now end
      if verdict == 'bury' then
        buried[#buried + 1] = now
        buried[#buried + 1] = id
      else
        back[#back + 1] = due
        back[#back + 1] = id
      end
      if note ~= '' then
        notes[#notes + 1] = due
        notes[#notes + 1] = id
      end
      new[#new + 1] = id
      new[#new + 1] = '- ' .. attempts .. ' ' .. sequence .. ' ' .. losses .. ' ' .. due .. ' ' .. note
    end
  end
end
if #held > 0 and redis.call('ZREM', leased, unpack(held)) < #held then
  redis.call('ZREM', waiting, unpack(held)) -- those whose lease had ended without a successor
end
if #done > 0 then
  redis.call('HDEL', tasks, unpack(done))
  redis.call('HDEL', state, unpack(done))
  redis.call('HDEL', history, unpack(done))
end
if #new > 0 then redis.call('HSET', state, unpack(new)) end
if #buried > 0 then redis.call('ZADD', dead, unpack(buried)) end
if #notes > 0 then redis.call('ZADD', parked, unpack(notes)) end
enqueue(back)
for _, event in ipairs(events) do remember(unpack(event)) end
return lost
