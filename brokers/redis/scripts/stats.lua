-- Counts the tasks by state: ready, scheduled, leased, dead, parked; and the tasks that are
-- in none of them, which must not be.
local due = redis.call('ZCOUNT', waiting, '-inf', now)
local all, buried = redis.call('ZCARD', waiting), redis.call('ZCARD', dead)
local taken, ended = redis.call('ZCOUNT', leased, '-inf', '(+inf'), redis.call('ZCOUNT', leased, '-inf', now)
return {
  due + ended, all - due, taken - ended, buried, redis.call('ZCOUNT', parked, '(' .. now, '+inf'),
  redis.call('HLEN', tasks) - all - taken - buried,
}
