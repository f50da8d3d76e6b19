package androidx.test.runner.lifecycle;

/** See README.md in androidx/test. */
public final class ActivityLifecycleMonitorRegistry {
    public static void registerInstance(ActivityLifecycleMonitor monitor) {}
}
