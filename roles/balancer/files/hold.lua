-- Managed by voicefleet.kokoro
-- Keep the place of a failed node occupied for a second.
core.register_action("hold", {"http-res"}, function() core.msleep(1000) end)
