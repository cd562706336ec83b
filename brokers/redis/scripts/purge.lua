-- Removes dead letters, those that died first first. ARGV: channel, the time before which
-- they were buried, most letters. Returns how many.
local old = redis.call('ZRANGEBYSCORE', dead, '-inf', '(' .. ARGV[2], 'LIMIT', 0, ARGV[3])
for _, id in ipairs(old) do remove(id) end
return #old
