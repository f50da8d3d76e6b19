package androidx.test.runner.lifecycle;

/** See README.md in androidx/test. */
public final class ApplicationLifecycleMonitorRegistry {
    public static void registerInstance(ApplicationLifecycleMonitor monitor) {}
}
