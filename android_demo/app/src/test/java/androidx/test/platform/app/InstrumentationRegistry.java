package androidx.test.platform.app;

/** See README.md in androidx/test. */
public final class InstrumentationRegistry {
    public static void registerInstance(android.app.Instrumentation instrumentation, android.os.Bundle arguments) {}
}
