-- Managed by voicefleet.kokoro
-- Keep the place of a failed node occupied for a second.
core.register_action("hold", {"http-res"}, function() core.msleep(1000) end)

-- Treat a node that did not begin a request as down until its next check, if another node is left. Without this, the
-- request could come back to this node, because the others are busy.
core.register_action("set_aside", {"http-res"}, function(txn, group)
    if txn.f:nbsrv(group) > 1 then
        core.proxies[txn.f:be_name()].servers[txn.f:srv_name()]:check_force_down()
    else
        core.msleep(1000)
    end
end, 1)
