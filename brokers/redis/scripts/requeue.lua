-- Makes dead letters ready again. ARGV: channel, ids. Returns the numbers (from 1) of those
-- that are no dead letters.
local missing, places = {}, {}
for i = 2, #ARGV do
  local id = ARGV[i]
  if redis.call('ZREM', dead, id) == 1 then
    local _, _, sequence = parse(redis.call('HGET', state, id))
    redis.call('HSET', state, id, '- 0 ' .. sequence .. ' 0 ' .. now .. ' ')
    places[#places + 1] = now
    places[#places + 1] = id
  else
    missing[#missing + 1] = i - 1
  end
end
enqueue(places)
return missing
