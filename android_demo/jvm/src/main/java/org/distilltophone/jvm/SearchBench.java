package org.distilltophone.jvm;

import com.sun.jna.Function;
import com.sun.jna.Memory;
import com.sun.jna.NativeLibrary;
import com.sun.management.ThreadMXBean;
import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.distilltophone.core.FlatIndex;
import org.distilltophone.core.Gallery;
import org.distilltophone.core.Index;
import org.distilltophone.core.TopK;

/**
 * Times searches in Java and C in turns, for scripts/benchmarks/android_search.py. For each line on stdin, runs one query in
 * every way, and prints a line with the processor time in nanoseconds, the bytes allocated and the number of rows found as by
 * the first way, for each way. Arguments: {@code GALLERY QUERIES.i8 K LIBRARY}
 */
public final class SearchBench {
    private SearchBench() {}

    /** One way to search. */
    private interface Way {
        int search(byte[] query, int[] rows);
    }

    public static void main(String[] a) throws Exception {
        int k = Integer.parseInt(a[2]);
        Gallery gallery = FolderSource.gallery(new File(a[0]));
        List<Way> ways = new ArrayList<>();
        ways.add(java(new LaneIndex(gallery.rows(), gallery.count(), gallery.dimension()), k));
        ways.add(c(gallery, k, NativeLibrary.getInstance(a[3]).getFunction("search")));
        ways.add(java(new FlatIndex(gallery), k));
        ways.add(java(new PrefilterIndex(gallery), k));
        byte[] queries = Files.readAllBytes(Path.of(a[1]));
        turns(ways, queries, gallery.dimension(), k);
    }

    private static void turns(List<Way> ways, byte[] queries, int dimension, int k) throws Exception {
        ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
        long me = Thread.currentThread().getId();
        byte[] query = new byte[dimension];
        int[] rows = new int[k];
        int[] exact = new int[k];
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            System.arraycopy(queries, Integer.parseInt(line) * dimension, query, 0, dimension);
            StringBuilder out = new StringBuilder();
            for (int way = 0; way < ways.size(); way++) {
                ways.get(way).search(query, rows); // untimed: the other ways have evicted the caches
                long before = threads.getThreadAllocatedBytes(me);
                long start = threads.getCurrentThreadCpuTime();
                ways.get(way).search(query, rows);
                long taken = threads.getCurrentThreadCpuTime() - start;
                long allocated = threads.getThreadAllocatedBytes(me) - before;
                if (way == 0) {
                    System.arraycopy(rows, 0, exact, 0, k);
                }
                int same = 0;
                for (int i = 0; i < k; i++) {
                    same += rows[i] == exact[i] ? 1 : 0;
                }
                out.append(taken).append(' ').append(allocated).append(' ').append(same).append(' ');
            }
            System.out.println(out.toString().trim());
        }
    }

    private static Way java(Index index, int k) {
        TopK top = new TopK(k);
        return (query, rows) -> {
            index.search(query, k, top);
            for (int i = 0; i < top.size(); i++) {
                rows[i] = top.row(i);
            }
            return top.size();
        };
    }

    private static Way c(Gallery gallery, int k, Function search) {
        int count = gallery.count();
        int dimension = gallery.dimension();
        ByteBuffer all = gallery.rows();
        Memory rows = new Memory((long) count * dimension);
        rows.getByteBuffer(0, rows.size()).put(all);
        Memory query = new Memory(dimension);
        Memory found = new Memory(4L * k);
        Memory products = new Memory(4L * k);
        Object[] arguments = {rows, query, count, k, found, products};
        return (values, out) -> {
            query.write(0, values, 0, dimension);
            int size = search.invokeInt(arguments);
            found.read(0, out, 0, size);
            return size;
        };
    }
}
