-- Shows tasks. ARGV: channel, ids. Returns the time, and for each id what show() returns.
local out = {now}
for i = 2, #ARGV do out[i] = show(ARGV[i]) end
return out
