-- Every script of a queue begins with this. What each key holds is described in
-- docs/brokers/redis.md; all of them lie in one slot. ARGV[1] is the wake channel.
local waiting, tasks, state, leased, dead, parked, history, control =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local channel = ARGV[1]

-- The server's time in unix seconds. It is text, as Lua writes only 14 digits of a number.
local clock = redis.call('TIME')
local now = string.format('%d.%06d', clock[1], clock[2])

-- A key of another type than ours fails here, before anything is written.
redis.call('ZCARD', waiting) redis.call('ZCARD', dead) redis.call('ZCARD', parked)
redis.call('HLEN', tasks) redis.call('HLEN', state) redis.call('HLEN', history)
local leases = redis.call('ZCARD', leased)
local wishes = redis.call('HLEN', control) -- an operator's; nearly always none

-- Reports whether the queue is paused.
local function paused() return wishes > 0 and redis.call('HEXISTS', control, 'paused') == 1 end

-- The field of the hash of wishes in which it stands that a task is to end.
local function cancelField(id) return 'cancel ' .. id end

-- Forgets the wishes that tasks end: they have ended.
local function forgetWishes(ids)
  if wishes == 0 then return end
  for _, id in ipairs(ids) do redis.call('HDEL', control, cancelField(id)) end
end

-- A value of the hash of tasks: when the task was to run at first, and its message.
local function value(due, message) return '{"due":' .. due .. ',"task":' .. message .. '}' end

-- When the task was to run at first.
local function firstDue(id)
  return string.match(redis.call('HGET', tasks, id) or '', '^{"due":([^,]+),') or now
end

-- Reads a state: "TOKEN ATTEMPTS SEQUENCE LOST DUE NOTE…". A token "-" is no lease, a due
-- time "-" the first one.
local function parse(text)
  if not text then return '-', '0', '0', '0', '-', '' end
  return string.match(text, '^(%S+) (%d+) (%d+) (%d+) (%S+) ?(.*)$')
end

-- Reports whether the lease that the token names is the task's latest and not settled.
local function held(text, token)
  return text and string.find(text, token, 1, true) == 1 and string.byte(text, #token + 1) == 32
end

-- Makes leases last until a time, from a list of time, id, time, id. The set of leases always
-- holds one member that is no task: a small set without such a long member would be stored
-- in a way in which every insertion looks at all the others.
local function hold(places)
  if leases == 0 then
    redis.call('ZADD', leased, '+inf', 'This is not a task. It keeps the set fast while it is small, and may be deleted.')
  end
  redis.call('ZADD', leased, unpack(places))
end

-- Adds an event to a task's history, which keeps the newest 32, one a line.
local function remember(id, attempt, what, reason)
  local line = cjson.encode({
    time = math.floor(tonumber(now) * 1000), attempt = tonumber(attempt), what = what, reason = reason,
  })
  local old = redis.call('HGET', history, id)
  if old then
    local _, breaks = string.gsub(old, '\n', '\n')
    for _ = 1, breaks + 2 - 32 do
      old = string.sub(old, string.find(old, '\n', 1, true) + 1)
    end
    line = old .. '\n' .. line
  end
  redis.call('HSET', history, id, line)
end

-- Wakes idle hosts. An ACL may forbid it: they look by themselves as well.
local function wake() redis.pcall('PUBLISH', channel, 'due') end

-- Puts members into the waiting set, from a list of score, member, score, member, and wakes
-- idle hosts if something is due earlier now than they knew. (Where a task was due already
-- they need no waking: they were woken for that one.)
local function enqueue(places)
  if #places == 0 then return end
  local head = tonumber(redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2])
  redis.call('ZADD', waiting, unpack(places))
  if head and head <= tonumber(now) then return end
  local first = tonumber(redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2])
  if not head or first < head then wake() end
end

-- Puts tasks whose lease has ended by itself back into their place in the waiting set; the
-- token stays in their state and tells so at the next lease. A bounded number at a time.
local function reap()
  local ended = redis.call('ZRANGEBYSCORE', leased, '-inf', now, 'LIMIT', 0, 500)
  if #ended == 0 then return end
  local states = redis.call('HMGET', state, unpack(ended))
  local places = {}
  for i, id in ipairs(ended) do
    local _, _, _, _, due = parse(states[i])
    places[2 * i - 1], places[2 * i] = due ~= '-' and due or firstDue(id), id
  end
  redis.call('ZREM', leased, unpack(ended))
  redis.call('ZADD', waiting, unpack(places))
end

-- Removes a task and all that is known of it.
local function remove(id)
  for _, set in ipairs({waiting, leased, dead, parked}) do redis.call('ZREM', set, id) end
  for _, hash in ipairs({tasks, state, history}) do redis.call('HDEL', hash, id) end
  forgetWishes({id})
end

-- Shows a task: its value in the hash of tasks, state, history, due time, end of lease, time
-- of burial; each '' where there is none.
local function show(id)
  return {
    redis.call('HGET', tasks, id) or '', redis.call('HGET', state, id) or '', redis.call('HGET', history, id) or '',
    redis.call('ZSCORE', waiting, id) or '', redis.call('ZSCORE', leased, id) or '', redis.call('ZSCORE', dead, id) or '',
  }
end
