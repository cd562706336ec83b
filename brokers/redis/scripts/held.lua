-- Lists leased tasks by the end of their lease. ARGV: channel, rank of the first, most
-- members. Returns id, due time, id, due time; '' as the due time of those whose lease has
-- ended.
local page = redis.call('ZRANGE', leased, ARGV[2], ARGV[2] + ARGV[3] - 1, 'WITHSCORES')
local out = {}
for i = 1, #page, 2 do
  local _, _, _, _, due = parse(redis.call('HGET', state, page[i]))
  out[i], out[i + 1] = page[i], tonumber(page[i + 1]) > tonumber(now) and due or ''
end
return out
