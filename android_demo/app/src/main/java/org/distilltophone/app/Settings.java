package org.distilltophone.app;

import android.content.Context;
import android.content.SharedPreferences;

/** A snapshot of the user's settings. */
final class Settings {
    static final String XNNPACK = "xnnpack";
    static final String PLAIN = "plain";
    static final String NNAPI = "nnapi";
    static final int MAX_THREADS = 8;
    static final int MIN_RESULTS = 6;
    static final int MAX_RESULTS = 60;

    /** Kernels that compute the model: one of the constants above. */
    final String delegate;
    /** 1 to {@link #MAX_THREADS}. */
    final int threads;
    /** Number of results shown. */
    final int results;
    /** Whether new photos are indexed in the background. */
    final boolean follow;

    private Settings(SharedPreferences kept) {
        String chosen = kept.getString("delegate", XNNPACK);
        delegate = PLAIN.equals(chosen) || NNAPI.equals(chosen) ? chosen : XNNPACK;
        threads = within(kept.getInt("threads", Math.min(2, Runtime.getRuntime().availableProcessors())), 1, MAX_THREADS);
        results = within(kept.getInt("results", 24), MIN_RESULTS, MAX_RESULTS);
        follow = kept.getBoolean("follow", false);
    }

    private static int within(int value, int low, int high) {
        return Math.max(low, Math.min(high, value));
    }

    static Settings read(Context context) {
        return new Settings(preferences(context));
    }

    static SharedPreferences preferences(Context context) {
        return context.getSharedPreferences("settings", Context.MODE_PRIVATE);
    }

    /** Returns whether a model opened with the other settings also serves these. */
    boolean sameEngine(Settings other) {
        return delegate.equals(other.delegate) && threads == other.threads;
    }
}
