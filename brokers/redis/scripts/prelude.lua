-- Every script of a queue begins with this. What each key holds is described in
-- docs/brokers/redis.md; all of them lie in one slot. ARGV[1] is the wake channel.
local waiting, tasks, state, leased, dead, parked, history =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local channel = ARGV[1]

-- The server's time in unix seconds. It is text, as Lua writes only 14 digits of a number.
local clock = redis.call('TIME')
local now = string.format('%d.%06d', clock[1], clock[2])

-- A key of another type than ours fails here, before anything is written.
redis.call('ZCARD', waiting) redis.call('ZCARD', leased) redis.call('ZCARD', dead)
redis.call('ZCARD', parked) redis.call('HLEN', tasks) redis.call('HLEN', state)
redis.call('HLEN', history)

-- Reads a state: "TOKEN ATTEMPTS SEQUENCE LOST DUE NOTE…", where a token "-" is no lease.
local function parse(text)
  if not text then return '-', '0', '0', '0', now, '' end
  return string.match(text, '^(%S+) (%d+) (%d+) (%d+) (%S+) ?(.*)$')
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

-- Puts members into the waiting set, from a list of score, member, score, member, and wakes
-- idle hosts if something is due earlier now than they knew. (Where a task was due already
-- they need no waking: they were woken for that one.)
local function enqueue(places)
  if #places == 0 then return end
  local head = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2]
  local least = tonumber(places[1])
  for i = 3, #places, 2 do least = math.min(least, tonumber(places[i])) end
  redis.call('ZADD', waiting, unpack(places))
  if not head or tonumber(head) > tonumber(now) and least < tonumber(head) then
    redis.pcall('PUBLISH', channel, 'due') -- an ACL may forbid it: hosts look by themselves as well
  end
end

-- Puts tasks whose lease has ended by itself back into their place in the waiting set; the
-- token stays in their state and tells so at the next lease. A bounded number at a time.
local function reap()
  local ended = redis.call('ZRANGEBYSCORE', leased, '-inf', now, 'LIMIT', 0, 1000)
  if #ended == 0 then return end
  local states = redis.call('HMGET', state, unpack(ended))
  local places = {}
  for i, id in ipairs(ended) do
    local _, _, _, _, due = parse(states[i])
    places[2 * i - 1], places[2 * i] = due, id
  end
  redis.call('ZREM', leased, unpack(ended))
  redis.call('ZADD', waiting, unpack(places))
end
