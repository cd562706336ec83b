-- Shows tasks. ARGV: channel, ids. Returns the time, and for each id a list of its value in
-- the hash of tasks, state, history, due time, end of lease, time of burial; each '' where
-- there is none.
local out = {now}
for i = 2, #ARGV do
  local id = ARGV[i]
  out[i] = {
    redis.call('HGET', tasks, id) or '', redis.call('HGET', state, id) or '', redis.call('HGET', history, id) or '',
    redis.call('ZSCORE', waiting, id) or '', redis.call('ZSCORE', leased, id) or '', redis.call('ZSCORE', dead, id) or '',
  }
end
return out
