# nothing
// here
/* but
   comments */
