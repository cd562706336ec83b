-- Returns in how many seconds the next task is due or the next lease ends ('' is never, as
-- while the queue is paused).
local least
if paused() then return '' end
for _, set in ipairs({waiting, leased}) do
  local head = tonumber(redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')[2])
  if head and (not least or head < least) then least = head end
end
return least and string.format('%.6f', least - tonumber(now)) or ''
