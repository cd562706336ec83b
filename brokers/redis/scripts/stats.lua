-- Counts the tasks by state: ready, scheduled, leased, dead, parked; and the tasks that are
-- in none of them, which must not be.
local due = redis.call('ZCOUNT', waiting, '-inf', now)
local ended = redis.call('ZCOUNT', leased, '-inf', now)
local all, held, buried = redis.call('ZCARD', waiting), redis.call('ZCARD', leased), redis.call('ZCARD', dead)
return {
  due + ended, all - due, held - ended, buried, redis.call('ZCOUNT', parked, '(' .. now, '+inf'),
  redis.call('HLEN', tasks) - all - held - buried,
}
