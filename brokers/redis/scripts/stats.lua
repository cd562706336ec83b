-- Counts the tasks by state: ready, scheduled, leased, dead, parked; and by how many the tasks
-- outnumber the members of the sets: those that are in none, less the foreign messages; and 1
-- if the queue is paused.
local due = redis.call('ZCOUNT', waiting, '-inf', now)
local all, buried = redis.call('ZCARD', waiting), redis.call('ZCARD', dead)
local taken, ended = redis.call('ZCOUNT', leased, '-inf', '(+inf'), redis.call('ZCOUNT', leased, '-inf', now)
return {
  due + ended, all - due, taken - ended, buried, redis.call('ZCOUNT', parked, '(' .. now, '+inf'),
  redis.call('HLEN', tasks) - all - taken - buried, paused() and 1 or 0,
}
